-- What every script begins with. KEYS[1]: what all keys begin with. ARGV: the instant in ms (empty: this server's
-- own), the instant from which the caller no longer waits (empty: it waits), the generation it believes in, its own.
local prefix = KEYS[1]
local now = tonumber(ARGV[1])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end
-- A caller that gave up has gone on: what it wanted must not happen behind its back.
if ARGV[2] ~= '' and now > tonumber(ARGV[2]) then return {'late', now} end
-- Flushed or restarted: nothing here is to be trusted before gateways have announced what they hold.
if ARGV[3] ~= '' and redis.call('GET', prefix .. 'generation') ~= ARGV[3] then return {'lost', now} end
