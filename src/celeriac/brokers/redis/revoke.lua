-- Store revocations; each repeated one replaces itself, under a new revision. The oldest beyond the bounds are forgotten.
--
-- KEYS   1 revoked HASH  2 its index ZSET  3 revision STRING
-- ARGV   1 most that are kept  2 microseconds that each is kept  3... name, entry, name, entry, ...
-- Returns the newest revision
-- Called by revoked.py.

local call = redis.call
local most, kept = tonumber(ARGV[1]), tonumber(ARGV[2])
local time = call('TIME')
local now = time[1] * 1000000 + time[2]
local revision = tonumber(call('GET', KEYS[3]) or 0)

for a = 3, #ARGV, 2 do
  revision = math.max(revision + 1, now)
  local text = string.format('%.0f', revision)
  call('HSET', KEYS[1], ARGV[a], ARGV[a + 1])
  call('ZADD', KEYS[2], text, ARGV[a])
  call('SET', KEYS[3], text)
end

local old = call('ZCOUNT', KEYS[2], '-inf', string.format('(%.0f', now - kept))
-- A lower bound than before is reached by and by, not in one long call.
local gone = math.min(math.max(old, call('ZCARD', KEYS[2]) - most), #ARGV + 1000)
if gone > 0 then
  for _, name in ipairs(call('ZRANGE', KEYS[2], 0, gone - 1)) do call('HDEL', KEYS[1], name) end
  call('ZREMRANGEBYRANK', KEYS[2], 0, gone - 1)
end

-- Where nothing is revoked any more nothing stays behind.
local milliseconds = string.format('%.0f', math.ceil(kept / 1000))
for k = 1, 3 do call('PEXPIRE', KEYS[k], milliseconds) end
return string.format('%.0f', revision)
