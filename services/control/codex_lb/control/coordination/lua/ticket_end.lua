-- The task is done, and not to be done again before it is due. ARGV: task, ticket, when it is due, in ms.
local key = prefix .. 'ticket:' .. ARGV[4]
if string.match(redis.call('GET', key) or '', '^(.*)|') ~= ARGV[5] then return {'unknown', now} end
local rest_ms = math.floor((tonumber(ARGV[6]) - now) * 0.9) -- then whoever comes first does it
if rest_ms > 0 then
  redis.call('SET', key, '|' .. string.format('%.0f', now + rest_ms), 'PX', rest_ms)
else
  redis.call('DEL', key)
end
return {'ok', now}
