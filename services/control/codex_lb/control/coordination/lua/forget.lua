-- Limits of an API key that are gone. ARGV: API key, and their ids.
local counted = counted_of(ARGV[4])
for i = 5, #ARGV do
  for _, hash in ipairs({'since', 'used', 'reserved'}) do redis.call('HDEL', prefix .. hash, ARGV[i]) end
  counted[ARGV[i]] = nil
end
set_counted(ARGV[4], counted)
return reply('ok')
