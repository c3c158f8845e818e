-- Frees what one silent gateway held; to be called until nobody is left, several times within a TTL. ARGV: TTL in ms, how
-- long whoever is given a lapsed lease has to record it, and how long a settled one may take to be stored, both in ms.
local ttl_ms, claim_ms, storing_ms = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local AT_ONCE = 100
if spare(ttl_ms) then return reply('nobody') end
local lapsed = {}

local function lapse(lease_id, record)
  loosen(lease_id, record, 'lapsed', now + claim_ms)
  lapsed[#lapsed + 1] = told(record)
end

local owner = redis.call('ZRANGEBYSCORE', prefix .. 'gateways', '-inf', now, 'LIMIT', 0, 1)[1]
if owner then
  for _, lease_id in ipairs(redis.call('SMEMBERS', prefix .. 'of:' .. owner)) do lapse(lease_id, record_of(lease_id)) end
  redis.call('ZREM', prefix .. 'gateways', owner)
  redis.call('SREM', prefix .. 'known', owner)
end

for _, lease_id in ipairs(redis.call('ZRANGEBYSCORE', prefix .. 'loose', '-inf', now, 'LIMIT', 0, AT_ONCE)) do
  local record = record_of(lease_id)
  if record[8] == 'lapsed' then -- whoever had it did not record it
    lapse(lease_id, record)
  else -- a control that is gone may have recorded its end all the same
    forget(lease_id, record)
    uncount(record[3])
  end
end

-- Settled, but neither its control nor its gateway is there to have it stored.
for _, member in ipairs(redis.call('ZRANGEBYSCORE', prefix .. 'unstored', '-inf', now - storing_ms, 'LIMIT', 0, AT_ONCE)) do
  local key, lease_id = string.match(member, '^(.-)|(.*)$')
  local entry = entry_of(key, lease_id)
  local record = entry[5]
  if record and redis.call('ZSCORE', prefix .. 'gateways', record[1]) then
    redis.call('ZADD', prefix .. 'unstored', now, member)
  else
    drop_entry(key, lease_id)
    uncount(key)
    if record then
      record[8], record[9] = 'lapsed', false
      reserve(record[7], 1) -- until somebody has recorded it
      lapse(lease_id, record)
    end
  end
end
return reply((owner or #lapsed > 0) and 'ok' or 'nobody', lapsed)
