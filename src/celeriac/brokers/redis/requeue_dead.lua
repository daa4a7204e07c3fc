-- Send dead letters again: original bytes, to the end of their queue, strikes forgotten.
--
-- KEYS   1 ready LIST  2 base of our own keys
-- ARGV   1 separator  2... ids
-- Returns {ids that were found}
-- Called by broker.py.

local ready, base, found = KEYS[1], KEYS[2], {}

for a = 2, #ARGV do
  local entry = call('HGET', base .. 'dead', ARGV[a])
  if entry then
    call('HDEL', base .. 'dead', ARGV[a])
    call('ZREM', base .. 'dead:index', ARGV[a])
    local _, step, _, payload = open_record(string.sub(entry, string.find(entry, '\n', 1, true) + 1))
    shelve('LPUSH', ready, base, ARGV[1], make_record('0', step, '0', payload, ''))
    found[#found + 1] = ARGV[a]
  end
end

return found
