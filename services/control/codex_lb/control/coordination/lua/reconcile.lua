-- Takes a gateway's word for what it holds. ARGV: gateway, TTL in ms, how long the reservation of what it does not name
-- is kept, in ms, then of each lease: id, account, API key, fence, granted at, record, number of limits, then of each limit:
-- id, amount, when the window began in which it is reserved.
local owner, ttl_ms, kept_ms = ARGV[4], tonumber(ARGV[5]), tonumber(ARGV[6])
local named, announced, freed = {}, {}, {}

local function take_over(lease_id, record)
  local known, key = record_of(lease_id), record[3]
  local entry = entry_of(key, lease_id)
  if known and not known[8] then return end
  if known then forget(lease_id, known) end
  if entry and entry[1] then
    record[9] = true -- it has ended, and counts for what it used
  elseif key ~= '' then
    if entry then drop_entry(key, lease_id) end
    for i = 1, #record[7], 3 do
      local since = number_of('since', record[7][i])
      if not since or since < record[7][i + 2] then begin_window(record[7][i], record[7][i + 2], false) end
    end
    uncount(key) -- the ledger may have a row of it, which counts no more
  end
  redis.call('ZADD', prefix .. 'gateways', 'NX', now + ttl_ms, owner)
  remember(lease_id, record, false) -- begun long ago, most likely
end

local i = 7
while i <= #ARGV do
  local lease_id, account, key, epoch, granted_at, body, number = unpack(ARGV, i, i + 6)
  local reservation = {}
  for j = i + 7, i + 6 + 3 * tonumber(number), 3 do
    reservation[#reservation + 1] = ARGV[j]
    reservation[#reservation + 1] = tonumber(ARGV[j + 1])
    reservation[#reservation + 1] = tonumber(ARGV[j + 2])
  end
  named[lease_id] = true
  announced[#announced + 1] = {lease_id, {owner, account, key, epoch, tonumber(granted_at), body, reservation, false, false}}
  i = i + 7 + 3 * tonumber(number)
end
for _, lease_id in ipairs(redis.call('SMEMBERS', prefix .. 'of:' .. owner)) do
  if not named[lease_id] then
    local record = record_of(lease_id)
    freed[#freed + 1] = told(record)
    if record[3] ~= '' then -- its settlement may be under way
      loosen(lease_id, record, 'missed', now + kept_ms)
    else
      forget(lease_id, record)
    end
  end
end
for _, one in ipairs(announced) do take_over(unpack(one)) end
return reply('ok', freed)
