-- How the limits of API keys stand. ARGV of each key: id, number of limits, then of each limit: id, when its first window
-- began, how long one is, when it was reset.
local use, i = {}, 4
while i <= #ARGV do
  local key, number, limits = ARGV[i], tonumber(ARGV[i + 1]), {}
  for j = i + 2, i + 1 + 4 * number, 4 do
    roll(ARGV[j], tonumber(ARGV[j + 1]), tonumber(ARGV[j + 2]), tonumber(ARGV[j + 3]))
    limits[#limits + 1] = ARGV[j]
  end
  use[#use + 1] = {version_of(key), use_of(limits, 1)}
  i = i + 2 + 4 * number
end
return reply('ok', use)
