-- The lease table. leases: lease -> packed record; of:GATEWAY, of_key:KEY: their leases; creating: leases that upstream
-- has not begun to answer; in_use, creating_of: account -> number; last: account -> its highest fence; gateways: by
-- alive-until; loose: leases that hold no slot any more and whose end is not known, by when somebody is to look at them.
-- A record is: gateway, account, API key, fence, granted at, body, reservation, why it is loose (or false), whether its
-- reservation is given back.
local changes = {}

local function less(key, field)
  if redis.call('HINCRBY', key, field, -1) <= 0 then redis.call('HDEL', key, field) end
end

local function begin(lease_id, account)
  if redis.call('SREM', prefix .. 'creating', lease_id) == 0 then return false end
  less(prefix .. 'creating_of', account)
  return true
end

local function record_of(lease_id)
  local packed = redis.call('HGET', prefix .. 'leases', lease_id)
  return packed and cmsgpack.unpack(packed)
end

local function write_record(lease_id, record)
  redis.call('HSET', prefix .. 'leases', lease_id, cmsgpack.pack(record))
end

local function remember(lease_id, record, is_creating)
  local owner, account, key, epoch, granted_at = unpack(record, 1, 5)
  write_record(lease_id, record)
  if not record[9] then reserve(record[7], 1) end
  redis.call('SADD', prefix .. 'of:' .. owner, lease_id)
  redis.call('HINCRBY', prefix .. 'in_use', account, 1)
  if key ~= '' then redis.call('SADD', prefix .. 'of_key:' .. key, lease_id) end
  if is_creating then
    redis.call('SADD', prefix .. 'creating', lease_id)
    redis.call('HINCRBY', prefix .. 'creating_of', account, 1)
  end
  -- Fences have as many digits as the largest, for Lua's numbers would round them.
  if (redis.call('HGET', prefix .. 'last', account) or '') < epoch then
    redis.call('HSET', prefix .. 'last', account, epoch)
  end
  changes[#changes + 1] = {'taken', lease_id, owner, account, key, epoch, granted_at, is_creating}
end

-- Frees the slot and nothing else.
local function free(lease_id, record)
  if record[8] then return end
  begin(lease_id, record[2])
  redis.call('SREM', prefix .. 'of:' .. record[1], lease_id)
  redis.call('SREM', prefix .. 'of_key:' .. record[3], lease_id)
  less(prefix .. 'in_use', record[2])
  changes[#changes + 1] = {'freed', lease_id}
end

local function give_back(record)
  if not record[9] then reserve(record[7], -1) end
  record[9] = true
end

local function forget(lease_id, record)
  free(lease_id, record)
  give_back(record)
  redis.call('HDEL', prefix .. 'leases', lease_id)
  if record[8] then redis.call('ZREM', prefix .. 'loose', lease_id) end
end

-- Frees the slot of a lease whose end is not known; what it has reserved stays reserved.
local function loosen(lease_id, record, why, due)
  free(lease_id, record)
  record[8] = why
  write_record(lease_id, record)
  redis.call('ZADD', prefix .. 'loose', due, lease_id)
end

-- As much of a record as makes a lease.
local function told(record) return {record[5], record[6], record[7]} end

-- Nobody could renew anything while no control was here, or Redis stood still: that is not held against gateways.
local function spare(ttl_ms)
  local looked_at = tonumber(redis.call('GET', prefix .. 'looked_at') or '0')
  redis.call('SET', prefix .. 'looked_at', now)
  if now - looked_at <= ttl_ms / 2 then return false end
  for _, owner in ipairs(redis.call('ZRANGEBYSCORE', prefix .. 'gateways', '-inf', now + ttl_ms)) do
    redis.call('ZADD', prefix .. 'gateways', now + ttl_ms, owner)
  end
  return true
end

-- The reply's head, the same for all: how it went, when, the number of the newest change, and the news of this one.
local function reply(how, ...)
  if #changes == 0 then
    return {how, now, tonumber(redis.call('GET', prefix .. 'changes') or '0'), '', ...}
  end
  local number = redis.call('INCR', prefix .. 'changes')
  local news = cmsgpack.pack({ARGV[3], number, changes})
  redis.call('PUBLISH', prefix .. 'news', news)
  return {how, now, number, news, ...}
end
