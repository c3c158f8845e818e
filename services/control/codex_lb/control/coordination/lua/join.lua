-- A control begins to follow the table, and reads all of it. ARGV: the name of a new generation, the id of this run of
-- the server, how long gateways have to announce what they hold and their TTL, both in ms.
local proposed, run_id, grace_ms, ttl_ms = ARGV[4], ARGV[5], tonumber(ARGV[6]), tonumber(ARGV[7])

local generation = redis.call('GET', prefix .. 'generation')
if not generation or redis.call('GET', prefix .. 'run_id') ~= run_id then
  -- Flushed, or restarted with what it had on disk, which is older than what gateways know.
  for _, owner in ipairs(redis.call('ZRANGE', prefix .. 'gateways', 0, -1)) do
    redis.call('DEL', prefix .. 'of:' .. owner)
  end
  for _, key in ipairs({'leases', 'creating', 'in_use', 'creating_of', 'by_key', 'gateways', 'known', 'changes', 'looked_at'}) do
    redis.call('DEL', prefix .. key)
  end
  generation = proposed
  redis.call('SET', prefix .. 'generation', generation)
  redis.call('SET', prefix .. 'run_id', run_id)
  redis.call('SET', prefix .. 'open_from', now + grace_ms)
  redis.call('PUBLISH', prefix .. 'news', cmsgpack.pack({generation, 0, changes}))
end

spare(ttl_ms)
return reply('ok', generation, redis.call('HGETALL', prefix .. 'leases'), redis.call('SMEMBERS', prefix .. 'creating'),
  redis.call('HGETALL', prefix .. 'last'))
