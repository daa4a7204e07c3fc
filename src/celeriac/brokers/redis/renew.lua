-- Make the counters of leases grow.
--
-- KEYS   for each queue: leases
-- ARGV   consumers
-- Returns {consumers that have lost the lease of one of the queues}
-- Called by broker.py.

local call, gone = redis.call, {}

for _, consumer in ipairs(ARGV) do
  local lost = false
  for _, leases in ipairs(KEYS) do
    if call('HEXISTS', leases, consumer) == 1 then
      call('HINCRBY', leases, consumer, 1)
    else
      lost = true
    end
  end
  if lost then gone[#gone + 1] = consumer end
end

return gone
