-- Frees the slot of a lease. ARGV: lease, fence.
local record = record_of(ARGV[4])
if not record or record[4] ~= ARGV[5] then return reply('unknown') end
forget(ARGV[4], record)
return reply('ok', record[6])
