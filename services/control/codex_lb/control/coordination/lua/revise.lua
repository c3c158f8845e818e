-- An API key is another than before: whoever believes in an older one is told. ARGV: API key, revision.
local revision = tonumber(ARGV[5])
if (number_of('revisions', ARGV[4]) or 0) < revision then redis.call('HSET', prefix .. 'revisions', ARGV[4], revision) end
return reply('ok')
