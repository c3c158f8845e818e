-- What a count from the ledger must leave to these counters. ARGV: API key, then of each limit: id, when its first window
-- began, how long one is, when it was reset.
local key, since, ended = ARGV[4], {}, {}
for i = 5, #ARGV, 4 do
  since[#since + 1] = roll(ARGV[i], tonumber(ARGV[i + 1]), tonumber(ARGV[i + 2]), tonumber(ARGV[i + 3]))
end
local entries = redis.call('HGETALL', prefix .. 'ended:' .. key)
for i = 1, #entries, 2 do
  ended[#ended + 1] = entries[i]
  ended[#ended + 1] = cmsgpack.unpack(entries[i + 1])[3]
end
local held = redis.call('SMEMBERS', prefix .. 'of_key:' .. key)
for _, lease_id in ipairs(redis.call('ZRANGE', prefix .. 'loose', 0, -1)) do
  if record_of(lease_id)[3] == key then held[#held + 1] = lease_id end
end
return reply('ok', version_of(key), since, ended, held)
