-- Take the lease of a dead consumer, and what it had in flight into another consumer's record.
--
-- KEYS   1 the dead consumer's hash  2 the other's; then for each queue: leases, in-flight hash of the dead, of the other
-- ARGV   1 the dead  2 the other  3 only if the leases stand at this sum ('': whatever)
--        4 '1': also return what an earlier call moved, whose answer was lost
-- Returns {queue, receipt, record, queue, receipt, record, ...} in order of receipts
-- Errors FENCED: the other has no lease; nothing was done.
-- Called by broker.py.

local dead, into = ARGV[1], ARGV[2]
local counter, found, queues = 0, false, (#KEYS - 2) / 3

for i = 1, queues do
  local lease = call('HGET', KEYS[3 * i], dead)
  if lease then counter, found = counter + lease, true end
end
local takes = ARGV[3] == '' or (found and counter == tonumber(ARGV[3]))

if not takes and ARGV[4] ~= '1' then return {} end
for i = 1, queues do
  if call('HEXISTS', KEYS[3 * i], into) == 0 then
    return redis.error_reply('FENCED the lease of ' .. into .. ' is gone')
  end
end

local answer = {}

if ARGV[4] == '1' then
  for i = 1, queues do
    local held = call('HGETALL', KEYS[3 * i + 2])
    for f = 1, #held, 2 do
      local _, _, _, _, from = open_record(held[f + 1])
      -- `from` is the receipt it had there, a space, the consumer's name.
      if string.sub(from, (string.find(from, ' ', 1, true) or 0) + 1) == dead then
        answer[#answer + 1] = {i, tonumber(held[f]), held[f + 1]}
      end
    end
  end
end

if takes then
  local moving = {}
  for i = 1, queues do
    local held = call('HGETALL', KEYS[3 * i + 1])
    for f = 1, #held, 2 do
      moving[#moving + 1] = {i, tonumber(held[f]), held[f + 1]}
    end
  end
  table.sort(moving, function(a, b) return a[2] < b[2] end)
  -- What frees comes first (see turn.lua).
  for i = 1, queues do
    call('HDEL', KEYS[3 * i], dead)
    call('DEL', KEYS[3 * i + 1])
  end
  call('DEL', KEYS[1])
  if #moving > 0 then
    local issued = call('HINCRBY', KEYS[2], 'issued', #moving) - #moving
    for m, entry in ipairs(moving) do
      local shelf, step, strikes, payload = open_record(entry[3])
      entry[3] = make_record(shelf, step, strikes, payload, string.format('%.0f ', entry[2]) .. dead)
      entry[2] = issued + m
      call('HSET', KEYS[3 * entry[1] + 2], entry[2], entry[3])
      answer[#answer + 1] = entry
    end
  end
end

-- By the receipts they have now, which is the order of those they had.
table.sort(answer, function(a, b) return a[2] < b[2] end)
local flat = {}
for a, entry in ipairs(answer) do
  flat[3 * a - 2], flat[3 * a - 1], flat[3 * a] = entry[1], entry[2], entry[3]
end
return flat
