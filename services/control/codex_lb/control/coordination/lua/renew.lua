-- A gateway was heard. ARGV: gateway, TTL in ms.
redis.call('ZADD', prefix .. 'gateways', now + tonumber(ARGV[5]), ARGV[4])
-- Known: heard since it last lapsed; a grant alone makes nobody known.
return reply(redis.call('SADD', prefix .. 'known', ARGV[4]) == 1 and 'unknown' or 'ok')
