-- Store a state on the way and tell who watches, unless the task has ended meanwhile.
--
-- KEYS   1 the result's key, which is its channel, too
-- ARGV   1 document  2 milliseconds to keep it (0: for ever)
-- Returns 1 if stored
-- Called by redis.py.

if is_final(redis.call('GET', KEYS[1])) then return 0 end
if ARGV[2] == '0' then
  redis.call('SET', KEYS[1], ARGV[1])
else
  redis.call('PSETEX', KEYS[1], ARGV[2], ARGV[1])
end
redis.call('PUBLISH', KEYS[1], ARGV[1])
return 1
