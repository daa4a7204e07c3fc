-- Return what a consumer holds to the shelves it came from, to be taken next and in the same order.
--
-- KEYS   1 the consumer's hash; then for each queue: ready LIST, leases, in-flight hash, base of our own keys
-- ARGV   1 consumer  2 only receipts above this one  3 separator  4 '1': end the lease, too
-- Returns the highest receipt ever issued to the consumer
-- Called by broker.py (give_back, dismiss).

local after, separator = tonumber(ARGV[2]), ARGV[3]
local issued = tonumber(call('HGET', KEYS[1], 'issued') or 0)

for k = 2, #KEYS, 4 do
  local ready, leases, inflight, base = KEYS[k], KEYS[k + 1], KEYS[k + 2], KEYS[k + 3]
  local returned = {}
  for _, receipt in ipairs(call('HKEYS', inflight)) do
    if tonumber(receipt) > after then returned[#returned + 1] = tonumber(receipt) end
  end
  -- Each is pushed at the end that is taken next: the lowest receipt last.
  table.sort(returned, function(a, b) return a > b end)
  for _, receipt in ipairs(returned) do
    local record = call('HGET', inflight, receipt)
    -- Fails where the LIST is none, while the record is still there.
    local step = string.match(record, '^\1%d;(%d+)') or '0'
    call('LLEN', step == '0' and ready or ready .. separator .. step)
    call('HDEL', inflight, receipt)
    shelve('RPUSH', ready, base, separator, record)
  end
  if ARGV[4] == '1' then call('HDEL', leases, ARGV[1]) end
end
if ARGV[4] == '1' then call('DEL', KEYS[1]) end

return math.max(issued, after)
