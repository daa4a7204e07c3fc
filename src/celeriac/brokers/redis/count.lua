-- How many messages stand where.
--
-- KEYS   for each queue: ready LIST, base of our own keys
-- ARGV   1 separator  2... priority steps
-- Returns {ready, delayed, in flight, suspects, quarantined, dead} for each queue, one after the other
-- Called by broker.py.

local call, counts = redis.call, {}

for k = 1, #KEYS, 2 do
  local base, ready, held = KEYS[k + 1], call('LLEN', KEYS[k + 1] .. 'own'), 0
  for s = 2, #ARGV do
    ready = ready + call('LLEN', ARGV[s] == '0' and KEYS[k] or KEYS[k] .. ARGV[1] .. ARGV[s])
  end
  for _, consumer in ipairs(call('HKEYS', base .. 'leases')) do
    held = held + call('HLEN', base .. 'inflight:' .. consumer)
  end
  local row = {ready, call('ZCARD', base .. 'delayed'), held, call('LLEN', base .. 'suspects'),
    call('LLEN', base .. 'quarantine'), call('HLEN', base .. 'dead')}
  for _, number in ipairs(row) do counts[#counts + 1] = number end
end

return counts
