-- Frees what one silent gateway held; to be called until nobody is left, several times within a TTL. ARGV: TTL in ms.
if spare(tonumber(ARGV[4])) then return reply('nobody') end
local owner = redis.call('ZRANGEBYSCORE', prefix .. 'gateways', '-inf', now, 'LIMIT', 0, 1)[1]
if not owner then return reply('nobody') end
local lapsed = {}
for _, lease_id in ipairs(redis.call('SMEMBERS', prefix .. 'of:' .. owner)) do
  local record = record_of(lease_id)
  forget(lease_id, record)
  lapsed[#lapsed + 1] = record[6]
end
redis.call('ZREM', prefix .. 'gateways', owner)
redis.call('SREM', prefix .. 'known', owner)
return reply('ok', lapsed)
