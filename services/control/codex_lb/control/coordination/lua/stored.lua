-- The ledger has these. ARGV of each: API key, lease, whether it is final.
local function keep_a_while(key, lease_id, entry)
  entry[5] = false
  write_entry(key, lease_id, entry)
  redis.call('ZREM', prefix .. 'unstored', key .. '|' .. lease_id)
  redis.call('ZADD', prefix .. 'stored', now, key .. '|' .. lease_id)
end

local i = 4
while i <= #ARGV do
  local key, lease_id, is_final = ARGV[i], ARGV[i + 1], ARGV[i + 2] == '1'
  local record, entry = record_of(lease_id), entry_of(key, lease_id)
  if record and record[8] and not is_final then forget(lease_id, record) end
  if entry and entry[1] and is_final then
    keep_a_while(key, lease_id, entry)
  elseif not (entry and entry[1]) then -- a guess, which the ledger may know better, or what was lost meanwhile
    drop_entry(key, lease_id)
    if key ~= '' then uncount(key) end
  end
  i = i + 3
end

for _, member in ipairs(redis.call('ZRANGEBYSCORE', prefix .. 'stored', '-inf', now - STORED_MS, 'LIMIT', 0, 100)) do
  drop_entry(string.match(member, '^(.-)|(.*)$'))
end
return reply('ok')
