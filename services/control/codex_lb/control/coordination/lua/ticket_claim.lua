-- Lets one control at a time give a task away. ARGV: task, ticket, how long in ms.
local key = prefix .. 'ticket:' .. ARGV[4]
local held_until = tonumber(string.match(redis.call('GET', key) or '', '|(%d+)$') or '0')
if now < held_until then return {'taken', now, 0, '', held_until - now} end
local ttl_ms = tonumber(ARGV[6])
redis.call('SET', key, ARGV[5] .. '|' .. string.format('%.0f', now + ttl_ms), 'PX', 2 * ttl_ms)
return {'ok', now}
