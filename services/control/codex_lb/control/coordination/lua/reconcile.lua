-- Takes a gateway's word for what it holds. ARGV: gateway, TTL in ms, then of each lease: id, account, API key, fence,
-- granted at, record.
local owner, ttl_ms = ARGV[4], tonumber(ARGV[5])
local announced, freed = {}, {}
for i = 6, #ARGV, 6 do announced[ARGV[i]] = true end

for _, lease_id in ipairs(redis.call('SMEMBERS', prefix .. 'of:' .. owner)) do
  if not announced[lease_id] then
    local record = record_of(lease_id)
    forget(lease_id, record)
    freed[#freed + 1] = record[6]
  end
end
for i = 6, #ARGV, 6 do
  local lease_id, account, key, epoch, granted_at, body = unpack(ARGV, i, i + 5)
  if redis.call('HEXISTS', prefix .. 'leases', lease_id) == 0 then
    redis.call('ZADD', prefix .. 'gateways', 'NX', now + ttl_ms, owner)
    remember(lease_id, owner, account, key, epoch, tonumber(granted_at), body, false) -- begun long ago, most likely
  end
end
return reply('ok', freed)
