-- Publish to queues some of which may hold only so many messages: all of these, or none.
--
-- KEYS   for each queue: ready LIST, base of our own keys
-- ARGV   1 separator  2 '1': the oldest make room  3 most dead letters kept  4 milliseconds each is kept
--        5 number of priority steps, then the steps; for each queue its limit (-1: none), and why one made room;
--        for each message: number of its queue, LIST, payload
-- Returns {0, older dead letters that had to go}, or {number of the queue that is full, its length}
-- Called by publishing.py.

local queues, separator, steps = #KEYS / 2, ARGV[1], {}
for s = 1, tonumber(ARGV[5]) do steps[s] = ARGV[5 + s] end
local limits = 6 + #steps
local first = limits + 2 * queues
local lists, more, over = {}, {}, {}

for q = 1, queues do
  lists[q], more[q] = {}, 0
  for s, step in ipairs(steps) do
    lists[q][s] = step == '0' and KEYS[2 * q - 1] or KEYS[2 * q - 1] .. separator .. step
  end
end
for a = first, #ARGV, 3 do
  local q = tonumber(ARGV[a])
  more[q] = more[q] + 1
end

for q = 1, queues do
  local limit = tonumber(ARGV[limits + 2 * q - 2])
  local length = call('LLEN', KEYS[2 * q] .. 'suspects')
  -- Also where there is no limit: it fails where a LIST is none, before anything is done.
  for _, list in ipairs(lists[q]) do length = length + call('LLEN', list) end
  if limit >= 0 then
    over[q] = length + more[q] - limit
    if over[q] > 0 and ARGV[2] ~= '1' then return {q, length} end
    -- A lower limit than before is reached by and by, not in one long call.
    over[q] = math.min(over[q], more[q] + 1000)
  end
end

for a = first, #ARGV, 3 do call('LPUSH', ARGV[a + 1], ARGV[a + 2]) end

-- What its dead letter says of a message.
local function facts_of(payload, why)
  local task, id = '', ''
  local read, message = pcall(cjson.decode, payload)
  if read and type(message) == 'table' and type(message.headers) == 'table' then
    if type(message.headers.task) == 'string' then task = message.headers.task end
    if type(message.headers.id) == 'string' then id = message.headers.id end
  end
  local name = redis.sha1hex(id ~= '' and id or payload)
  return name .. ' ' .. ARGV[3] .. ' ' .. ARGV[4] .. ' 0 0 ' .. cjson.encode({'overflow', why, task, id, ''})
end

local gone = 0
if ARGV[2] == '1' then
  local dead = dead_letters()
  local time = call('TIME')
  local now = time[1] * 1000 + math.floor(time[2] / 1000)
  for q = 1, queues do
    -- The least urgent first, of those the oldest; what is suspected stays.
    local s = #steps
    while (over[q] or 0) > 0 and s > 0 do
      local payload = call('RPOP', lists[q][s])
      if payload then
        local word = facts_of(payload, ARGV[limits + 2 * q - 1])
        local record = make_record('0', steps[s], '0', payload, '')
        gone = gone + dead.bury(KEYS[2 * q], KEYS[2 * q - 1], record, word, now)
        over[q] = over[q] - 1
      else
        s = s - 1
      end
    end
  end
end

return {0, gone}
