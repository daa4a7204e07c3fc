-- Delete what waits in queues; not what is in flight, not what is dead.
--
-- KEYS   for each queue: ready LIST, base of our own keys
-- ARGV   1 separator  2... priority steps
-- Returns how many
-- Called by broker.py.

local call, purged = redis.call, 0

for k = 1, #KEYS, 2 do
  local base = KEYS[k + 1]
  local lists = {base .. 'suspects', base .. 'quarantine', base .. 'own'}
  for s = 2, #ARGV do
    lists[#lists + 1] = ARGV[s] == '0' and KEYS[k] or KEYS[k] .. ARGV[1] .. ARGV[s]
  end
  purged = purged + call('ZCARD', base .. 'delayed')
  call('UNLINK', base .. 'delayed')
  for _, list in ipairs(lists) do
    purged = purged + call('LLEN', list)
    call('UNLINK', list)
  end
end

return purged
