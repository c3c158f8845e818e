-- Sets what is used of limits, unless anything has moved since it was asked what is known. ARGV: API key, version, then of
-- each limit: id, since when it counts, what is used.
local key = ARGV[4]
if number_of('versions', key) ~= tonumber(ARGV[5]) then return reply('moved') end
for i = 6, #ARGV, 3 do
  if number_of('since', ARGV[i]) ~= tonumber(ARGV[i + 1]) then return reply('moved') end
end
local counted = counted_of(key)
for i = 6, #ARGV, 3 do
  redis.call('HSET', prefix .. 'used', ARGV[i], ARGV[i + 2])
  counted[ARGV[i]] = true
end
set_counted(key, counted)
return reply('ok')
