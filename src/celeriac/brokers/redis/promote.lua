-- Move delayed messages back to their shelves: the due ones, or all. The same for dead letters that have a second chance
-- now; those that are too old are forgotten.
--
-- KEYS   for each queue: ready LIST, base of our own keys
-- ARGV   1 most messages (fewer where they are large)  2 separator  3 '1': all, due or not  4 most dead letters of a
--        queue (and histories of those that were) that are kept  5 milliseconds that each is kept
-- Returns {moved, milliseconds until the next is due (-1: none is delayed), dead letters there were too many of}
-- Errors WRONGTYPE: a queue's LIST is none; what would go there stays, all else was done.
-- Called by broker.py (promote, release).
--
-- They queue up behind what waits already, the earliest due first, as if published now. (At the other end a message that
-- falls due later would overtake one that fell due before and is still there.)

local room, separator = tonumber(ARGV[1]), ARGV[2]
local time = call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local until_ = ARGV[3] == '1' and '+inf' or string.format('%.0f', now)
local moved, nearest, gone, bytes = 0, -1, 0, 0
local dead = dead_letters()
local most, kept = tonumber(ARGV[4]), tonumber(ARGV[5])

-- Bytes of one call: Redis serves nobody else meanwhile.
local most_bytes = 8388608

local function promote_due(ready, base, delayed)
  -- One first, then as many as by their average fit.
  local look = 1
  while room > 0 and look > 0 do
    look = math.min(look, room)
    local due = call('ZRANGEBYSCORE', delayed, '-inf', until_, 'LIMIT', 0, look)
    if #due == 0 then return end
    -- Fails where a LIST is none, while none of these was moved yet.
    local seen = {}
    for _, member in ipairs(due) do
      local step = string.match(member, '^\1%d;(%d+)', 17) or '0'
      if not seen[step] then seen[step] = call('LLEN', step == '0' and ready or ready .. separator .. step) end
    end
    call('ZREMRANGEBYRANK', delayed, 0, #due - 1)
    for _, member in ipairs(due) do
      shelve('LPUSH', ready, base, separator, string.sub(member, 17))
      bytes = bytes + #member
    end
    moved, room = moved + #due, room - #due
    if #due < look then return end
    look = math.floor((most_bytes - bytes) / (bytes / moved))
  end
end

-- The key of one queue that is no LIST keeps no other queue from being served: it is told at the end.
local failed

local function try(f, ...)
  local fine, result = pcall(f, ...)
  if fine then return result end
  failed = type(result) == 'table' and result.err or tostring(result)
end

for k = 1, #KEYS, 2 do
  local ready, base = KEYS[k], KEYS[k + 1]
  local delayed = base .. 'delayed'
  try(promote_due, ready, base, delayed)
  if ARGV[3] ~= '1' then
    gone = gone + dead.trim(base, most, kept, now)
    dead.trim_past(base, most, kept, now)
    if room > 0 then
      for _, id in ipairs(call('ZRANGEBYSCORE', base .. 'dead:again', '-inf', until_, 'LIMIT', 0, room)) do
        bytes = bytes + call('HSTRLEN', base .. 'dead', id)
        if moved > 0 and bytes > most_bytes then break end
        local sent = try(dead.unbury, ready, base, separator, id, 0, 'again', '', most, kept, now)
        if sent then
          moved, room = moved + 1, room - 1
        elseif sent == false then
          call('ZREM', base .. 'dead:again', id)
        end
      end
    end
    local again = call('ZRANGE', base .. 'dead:again', 0, 0, 'WITHSCORES')
    if again[2] then
      local wait = math.max(0, tonumber(again[2]) - now)
      if nearest < 0 or wait < nearest then nearest = wait end
    end
  end
  local first = call('ZRANGE', delayed, 0, 0, 'WITHSCORES')
  if first[2] then
    local wait = math.max(0, tonumber(first[2]) - now)
    if nearest < 0 or wait < nearest then nearest = wait end
  end
end

if failed then return redis.error_reply(failed) end
return {moved, nearest, gone}
