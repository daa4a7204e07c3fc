-- Keep dead letters that come from elsewhere.
--
-- KEYS   1 ready LIST  2 base of our own keys
-- ARGV   for each: milliseconds of when it was set aside, facts, second line of the entry, record
-- Returns {their ids}
-- Called by dead.py.

local base, ids = KEYS[2], {}

for a = 1, #ARGV, 4 do
  local id = KEYS[1] .. ':' .. string.format('%.0f', call('INCR', base .. 'sequence'))
  call('HSET', base .. 'dead', id, ARGV[a + 1] .. '\n' .. ARGV[a + 2] .. '\n' .. ARGV[a + 3])
  call('ZADD', base .. 'dead:index', ARGV[a], id)
  ids[#ids + 1] = id
end

return ids
