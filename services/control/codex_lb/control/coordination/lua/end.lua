-- Ends leases: what each used takes the place of what it had reserved. ARGV of each: lease, fence, API key, granted at,
-- whether it is final (0: its gateway vanished), what it counts for (empty: for nothing), revision of the API key, its account,
-- record and reservation (empty unless it is told again, and may be forgotten), number of limits, then of each limit: id,
-- when its first window began, how long one is, when it was reset, amount.
local STEP = 5

local function limits_from(first, number)
  local limits = {}
  for i = first, first + STEP * number - 1 do limits[#limits + 1] = ARGV[i] end
  return limits
end

local function amounts_in(limits)
  local amounts = {}
  for i = 1, #limits, STEP do
    amounts[#amounts + 1], amounts[#amounts + 2] = limits[i], tonumber(limits[i + 4])
  end
  return amounts
end

local function charge_all(limits, granted_at, before)
  local guessed = {}
  for i = 1, #before, 2 do guessed[before[i]] = before[i + 1] end
  for i = 1, #limits, STEP do
    local since = roll(limits[i], tonumber(limits[i + 1]), tonumber(limits[i + 2]), tonumber(limits[i + 3]))
    charge(limits[i], since, granted_at, tonumber(limits[i + 4]) - (guessed[limits[i]] or 0))
  end
end

local function count(lease_id, key, granted_at, is_final, spent, limits, record, forgotten)
  local entry = entry_of(key, lease_id)
  if entry and (entry[1] or not is_final) then
    redis.call('ZADD', prefix .. 'unstored', 'XX', now, key .. '|' .. lease_id) -- somebody still has it stored
    return
  end
  write_entry(key, lease_id, {is_final, granted_at, spent, amounts_in(limits), record or forgotten})
  redis.call('ZADD', prefix .. 'unstored', now, key .. '|' .. lease_id)
  moved(key)
  if entry or record then
    charge_all(limits, granted_at, entry and entry[4] or {})
  else
    uncount(key) -- lost, or counted by the ledger already
  end
end

local records, use, i = {}, {}, 4
while i <= #ARGV do
  local lease_id, fence, key, granted_at, finality, spent, revision = unpack(ARGV, i, i + 6)
  local account, body, reservation, number = unpack(ARGV, i + 7, i + 10)
  local limits, is_final = limits_from(i + 11, tonumber(number)), finality == '1'
  local record = record_of(lease_id)
  if record and record[4] ~= fence then
    records[#records + 1], use[#use + 1] = '', {} -- nothing of its own ends
  else
    records[#records + 1] = record and not record[8] and told(record) or ''
    if record and (is_final or record[8] ~= 'lapsed') then
      forget(lease_id, record)
    elseif record then -- told again until it is recorded, or its gateway comes back with the truth
      give_back(record)
      write_record(lease_id, record)
    end
    use[#use + 1] = {}
    local is_outdated = spent ~= '' and (number_of('revisions', key) or 0) > tonumber(revision)
    if spent ~= '' and (#limits > 0 or is_outdated) then
      local again = body ~= ''
        and {'', account, key, fence, tonumber(granted_at), body, cmsgpack.unpack(reservation), false, true}
      count(lease_id, key, tonumber(granted_at), is_final, spent, limits, record, again)
      if is_outdated then uncount(key) end
      use[#use] = {version_of(key), use_of(limits, STEP)}
    end
  end
  i = i + 11 + STEP * tonumber(number)
end
return reply('ok', records, use)
