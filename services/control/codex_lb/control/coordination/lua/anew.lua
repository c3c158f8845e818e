-- A control has lost track of what it owes: everybody begins anew, with what gateways announce and the ledger holds.
redis.call('DEL', prefix .. 'generation')
return reply('ok')
