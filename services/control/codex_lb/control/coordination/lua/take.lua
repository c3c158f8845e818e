-- Takes a slot, and reserves what the turn may use of the limits of its API key: all of it or nothing. ARGV: lease,
-- gateway, account, API key, fence, granted at, record, slots, create slots, slots of the API key, TTL in ms, revision of the
-- API key, then of each limit: id, when its first window began, how long one is, when it was reset, amount, the most.
local lease_id, owner, account, key, epoch, granted_at, body = unpack(ARGV, 4, 10)
local slots, create_slots, key_slots = tonumber(ARGV[11]), tonumber(ARGV[12]), tonumber(ARGV[13])
local ttl_ms, revision = tonumber(ARGV[14]), tonumber(ARGV[15])

local open_from = tonumber(redis.call('GET', prefix .. 'open_from') or '0')
if now < open_from then return reply('closed', open_from - now) end
if key ~= '' and (number_of('revisions', key) or 0) > revision then return reply('outdated') end

local reservation, is_counted, short = {}, true, nil
local from, to = tonumber(granted_at), math.huge
for i = 16, #ARGV, 6 do
  local limit, amount, most = ARGV[i], tonumber(ARGV[i + 4]), tonumber(ARGV[i + 5])
  local since, ends = roll(limit, tonumber(ARGV[i + 1]), tonumber(ARGV[i + 2]), tonumber(ARGV[i + 3]))
  local used, reserved = number_of('used', limit), number_of('reserved', limit) or 0
  if not used then
    is_counted = false
  elseif not short and not (used < most and (reserved == 0 or used + reserved + amount <= most)) then
    short = {limit, used, reserved}
  end
  from, to = math.max(from, since), math.min(to, ends - 1)
  reservation[#reservation + 1], reservation[#reservation + 2], reservation[#reservation + 3] = limit, amount, since
end
if not is_counted then return reply('uncounted') end
if short then return reply('short', unpack(short)) end

if key_slots > 0 and redis.call('SCARD', prefix .. 'of_key:' .. key) >= key_slots then return reply('full') end
local in_use = number_of('in_use', account) or 0
local creating = number_of('creating_of', account) or 0
if slots > 0 and in_use >= slots or create_slots > 0 and creating >= create_slots then return reply('full') end

redis.call('ZADD', prefix .. 'gateways', 'NX', now + ttl_ms, owner)
-- Granted inside the windows in which it is reserved, whatever the caller's clock says: the ledger counts by that instant.
local within = math.min(from, to)
for i = 3, #reservation, 3 do within = math.max(within, reservation[i]) end
remember(lease_id, {owner, account, key, epoch, within, body, reservation, false, false}, true)
return reply('ok', within, reservation)
