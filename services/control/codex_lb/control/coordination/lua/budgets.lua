-- The limits of API keys. since: limit -> when its present window began, in us; used: limit -> what is used in it, missing
-- while nobody has counted; reserved: limit -> what running turns may use beyond that. ended:KEY: lease -> what it counts
-- for, from its end until a while after the ledger has it; unstored and stored have KEY|LEASE, by when that was.
-- versions: key -> a number that rises as soon as a count that began before would be wrong. counted: key -> its limits that
-- somebody counted, whichever it has now. revisions: key -> its newest that any control told.
local STORED_MS = 20000 -- a count from the ledger takes two seconds at the most

local function whole(number) return string.format('%.0f', number) end

local function number_of(hash, field) return tonumber(redis.call('HGET', prefix .. hash, field)) end

local function moved(key)
  redis.call('HSET', prefix .. 'versions', key, whole(math.max((number_of('versions', key) or 0) + 1, now * 1000)))
end

-- Versions rise across everything that is forgotten, for they are never below the time.
local function version_of(key)
  if not number_of('versions', key) then moved(key) end
  return number_of('versions', key)
end

local function counted_of(key)
  local packed = redis.call('HGET', prefix .. 'counted', key)
  return packed and cmsgpack.unpack(packed) or {}
end

local function set_counted(key, limits)
  if not next(limits) then
    redis.call('HDEL', prefix .. 'counted', key)
  else
    redis.call('HSET', prefix .. 'counted', key, cmsgpack.pack(limits))
  end
end

-- Nobody knows any more what is used of the limits of a key, whichever it has.
local function uncount(key)
  for limit in pairs(counted_of(key)) do redis.call('HDEL', prefix .. 'used', limit) end
  set_counted(key, {})
  moved(key)
end

local function begin_window(limit, since, is_empty)
  redis.call('HSET', prefix .. 'since', limit, whole(since))
  redis.call('HDEL', prefix .. 'reserved', limit)
  if is_empty and redis.call('HEXISTS', prefix .. 'used', limit) == 1 then
    redis.call('HSET', prefix .. 'used', limit, 0)
  else
    redis.call('HDEL', prefix .. 'used', limit)
  end
end

-- When the window began that is open now, unless a later one has begun; and when it ends.
local function roll(limit, begins, length, reset)
  local window = begins + math.floor((now * 1000 - begins) / length) * length
  local since, known = math.max(window, reset), number_of('since', limit)
  if not known or known < since then
    -- Nothing that was granted in a window that just began can have ended, but after a reset it can.
    begin_window(limit, since, known and since > reset)
    return since, window + length
  end
  return known, window + length
end

local function charge(limit, since, granted_at, amount)
  if amount ~= 0 and granted_at >= since and redis.call('HEXISTS', prefix .. 'used', limit) == 1 then
    redis.call('HINCRBY', prefix .. 'used', limit, whole(amount))
  end
end

-- A reservation is a list of limit, amount and the window it counts in.
local function reserve(reservation, sign)
  for i = 1, #reservation, 3 do
    if number_of('since', reservation[i]) == reservation[i + 2] then
      redis.call('HINCRBY', prefix .. 'reserved', reservation[i], whole(sign * reservation[i + 1]))
    end
  end
end

-- What a lease counts for that has ended: whether that is final, when it was granted, what a control made of it, its
-- amounts by limit, and the lease itself until the ledger has it.
local function entry_of(key, lease_id)
  local packed = redis.call('HGET', prefix .. 'ended:' .. key, lease_id)
  return packed and cmsgpack.unpack(packed)
end

local function write_entry(key, lease_id, entry)
  redis.call('HSET', prefix .. 'ended:' .. key, lease_id, cmsgpack.pack(entry))
end

local function drop_entry(key, lease_id)
  redis.call('HDEL', prefix .. 'ended:' .. key, lease_id)
  redis.call('ZREM', prefix .. 'unstored', key .. '|' .. lease_id)
  redis.call('ZREM', prefix .. 'stored', key .. '|' .. lease_id)
end

-- How limits stand, every `step`-th entry of the list: used (-1: nobody has counted) and reserved of each.
local function use_of(limits, step)
  local use = {}
  for i = 1, #limits, step do
    use[#use + 1] = number_of('used', limits[i]) or -1
    use[#use + 1] = number_of('reserved', limits[i]) or 0
  end
  return use
end
