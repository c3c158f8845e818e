-- A control begins to follow the table, and reads all of it. ARGV: the name of a new generation, the id of this run of
-- the server, how long gateways have to announce what they hold and their TTL, both in ms.
local proposed, run_id, grace_ms, ttl_ms = ARGV[4], ARGV[5], tonumber(ARGV[6]), tonumber(ARGV[7])

local function forget_everything()
  for _, owner in ipairs(redis.call('ZRANGE', prefix .. 'gateways', 0, -1)) do
    redis.call('DEL', prefix .. 'of:' .. owner)
  end
  for _, packed in ipairs(redis.call('HVALS', prefix .. 'leases')) do
    redis.call('DEL', prefix .. 'of_key:' .. cmsgpack.unpack(packed)[3])
  end
  for _, by_when in ipairs({'unstored', 'stored'}) do
    for _, member in ipairs(redis.call('ZRANGE', prefix .. by_when, 0, -1)) do
      redis.call('DEL', prefix .. 'ended:' .. string.match(member, '^(.-)|'))
    end
    redis.call('DEL', prefix .. by_when)
  end
  for _, key in ipairs({'leases', 'creating', 'in_use', 'creating_of', 'gateways', 'known', 'changes', 'looked_at', 'loose',
    'since', 'used', 'reserved', 'counted', 'revisions'}) do
    redis.call('DEL', prefix .. key)
  end
end

local generation = redis.call('GET', prefix .. 'generation')
if not generation or redis.call('GET', prefix .. 'run_id') ~= run_id then
  forget_everything() -- flushed, or restarted with what it had on disk, which is older than what gateways know
  generation = proposed
  redis.call('SET', prefix .. 'generation', generation)
  redis.call('SET', prefix .. 'run_id', run_id)
  redis.call('SET', prefix .. 'open_from', now + grace_ms)
  redis.call('PUBLISH', prefix .. 'news', cmsgpack.pack({generation, 0, changes}))
end

spare(ttl_ms)
return reply('ok', generation, redis.call('HGETALL', prefix .. 'leases'), redis.call('SMEMBERS', prefix .. 'creating'),
  redis.call('HGETALL', prefix .. 'last'))
