-- The lease table. leases: lease -> packed record; of:GATEWAY: its leases; creating: leases that upstream has not begun
-- to answer; in_use, creating_of: account -> number; by_key: API key -> number; last: account -> its highest fence; gateways: by alive-until.
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

local function remember(lease_id, owner, account, key, epoch, granted_at, body, is_creating)
  local record = {owner, account, key, epoch, granted_at, body}
  redis.call('HSET', prefix .. 'leases', lease_id, cmsgpack.pack(record))
  redis.call('SADD', prefix .. 'of:' .. owner, lease_id)
  redis.call('HINCRBY', prefix .. 'in_use', account, 1)
  if key ~= '' then redis.call('HINCRBY', prefix .. 'by_key', key, 1) end
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

local function forget(lease_id, record)
  begin(lease_id, record[2])
  redis.call('HDEL', prefix .. 'leases', lease_id)
  redis.call('SREM', prefix .. 'of:' .. record[1], lease_id)
  less(prefix .. 'in_use', record[2])
  if record[3] ~= '' then less(prefix .. 'by_key', record[3]) end
  changes[#changes + 1] = {'freed', lease_id}
end

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
