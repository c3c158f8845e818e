-- Upstream has begun to answer. ARGV: leases.
for i = 4, #ARGV do
  local record = record_of(ARGV[i])
  if record and begin(ARGV[i], record[2]) then changes[#changes + 1] = {'begun', ARGV[i]} end
end
return reply('ok')
