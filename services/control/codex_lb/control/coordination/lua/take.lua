-- Takes a slot. ARGV: lease, gateway, account, API key, fence, granted at, record, slots, create slots, slots of
-- the API key, TTL in ms.
local lease_id, owner, account, key, epoch, granted_at, body = unpack(ARGV, 4, 10)
local slots, create_slots, key_slots = tonumber(ARGV[11]), tonumber(ARGV[12]), tonumber(ARGV[13])
local ttl_ms = tonumber(ARGV[14])

local open_from = tonumber(redis.call('GET', prefix .. 'open_from') or '0')
if now < open_from then return reply('closed', open_from - now) end

if key_slots > 0 and tonumber(redis.call('HGET', prefix .. 'by_key', key) or '0') >= key_slots then return reply('full') end
local in_use = tonumber(redis.call('HGET', prefix .. 'in_use', account) or '0')
local creating = tonumber(redis.call('HGET', prefix .. 'creating_of', account) or '0')
if slots > 0 and in_use >= slots or create_slots > 0 and creating >= create_slots then return reply('full') end

redis.call('ZADD', prefix .. 'gateways', 'NX', now + ttl_ms, owner)
remember(lease_id, owner, account, key, epoch, tonumber(granted_at), body, true)
return reply('ok')
