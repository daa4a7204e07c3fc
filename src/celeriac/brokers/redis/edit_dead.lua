-- Change dead letters: put other bytes into one, or delete some.
--
-- KEYS   1 base of our own keys
-- ARGV   1 'edit': id, SHA1 of the payload it must have, name of its past from now on, the new payload, by whom
--          'purge': ids
-- Returns how many were changed
-- Called by dead.py.

local dead = dead_letters()
local base, changed = KEYS[1], 0

if ARGV[1] == 'purge' then
  for a = 2, #ARGV do changed = changed + dead.forget(base, ARGV[a]) end
  return changed
end

local entry = call('HGET', base .. 'dead', ARGV[2])
if not entry then return 0 end
local facts, _, requeues, told, record = dead.open(entry)
local shelf, step, strikes, payload = open_record(record)
if redis.sha1hex(payload) ~= ARGV[3] then return 0 end
local time = call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
told = dead.joined(told, dead.happening(now, 'edited', ARGV[6]))
record = make_record(shelf, step, strikes, ARGV[5], '')
call('HSET', base .. 'dead', ARGV[2], facts .. '\n' .. ARGV[4] .. ';' .. requeues .. ';' .. told .. '\n' .. record)
return 1
