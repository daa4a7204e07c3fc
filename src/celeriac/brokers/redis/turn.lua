-- One turn of a consumer: settle what is finished, reserve what comes next. The hot path: lean on purpose.
--
-- KEYS   1 the consumer's hash; then for each queue: ready LIST, leases, in-flight hash, base of our own keys; at the
--        end the revision of the revocations
-- ARGV   1 consumer  2 sender  3 number of this call  4 highest receipt the sender knows
--        5 limit  6 most bytes (0: no bound)  7 shelf (0 ready, 2 quarantine)  8 first queue in rotation (from 1)
--        9 separator  10 own database  11 database of results ('' when not on this server)  12 prefix of results
--        13 receipt that runs alone (0: none)  14 its queue  15 number of steps, then the steps
--        then the number of plain settlements, each: index of the in-flight key, receipt, task id, milliseconds, document
--        then the number of other settlements, each: queue (0: nothing to acknowledge), receipt, verdict, task id,
--        milliseconds, document, final (0/1), shelf, strikes, due in milliseconds, word for the dead letter (see
--        dead.lua), number of follow-ups, number of further results, number of members, then each follow-up: LIST,
--        payload; each result: task id, milliseconds, document, final; each member: key of its group, task id, place,
--        part, LIST and payload of the message that calls the body, whether the parts of a new group are kept in order
--        (an empty task id: no result; 0 milliseconds: kept for ever)
-- Returns {seconds, microseconds, flags (1 suspects wait, 2 this call was done before, and four times the number of
--          older dead letters that had to go), {refused receipts}, revision,
--          {queue, shelf, strikes, first receipt, payload, payload, ...}, ...}
-- Errors FENCED: a lease is gone, nothing was done. WRONGTYPE: a follow-up's LIST is none, nothing was done.
-- Called by consumer.py.
--
-- Lua does not roll back: all checks come first. The first write only frees (HDEL, LTRIM), because a server that is out of
-- memory refuses a script at its first write that might allocate, and never later: what has begun is ended.

local consumer, sender, number = ARGV[1], ARGV[2], tonumber(ARGV[3])
local limit, separator = tonumber(ARGV[5]), ARGV[9]
local queues = (#KEYS - 2) / 4
local now = call('TIME')

-- 1. checks

for i = 1, queues do
  if call('HEXISTS', KEYS[4 * i - 1], consumer) == 0 then
    return redis.error_reply('FENCED the lease of ' .. consumer .. ' is gone')
  end
end

local state = call('HMGET', KEYS[1], 'issued', sender)
local issued = math.max(tonumber(state[1] or 0), tonumber(ARGV[4]))
if number <= tonumber(state[2] or 0) then
  return {now[1], now[2], 2, {}, call('GET', KEYS[#KEYS]) or '0'}
end

local at = 15 + tonumber(ARGV[15]) + 1
local plain = tonumber(ARGV[at])
local others = at + 1 + plain * 5
local refused, results, kept, members, wrote, gone = {}, {}, 0, {}, false, 0

-- Where the settlement behind this one stands.
local after

if ARGV[others] ~= '0' then
  after = function(p)
    return p + 14 + 2 * tonumber(ARGV[p + 11]) + 4 * tonumber(ARGV[p + 12]) + 7 * tonumber(ARGV[p + 13])
  end
  local p = others + 1
  for _ = 1, tonumber(ARGV[others]) do
    for f = p + 14, p + 12 + 2 * tonumber(ARGV[p + 11]), 2 do
      local kind = call('TYPE', ARGV[f]).ok
      if kind ~= 'list' and kind ~= 'none' then
        return redis.error_reply('WRONGTYPE the key ' .. ARGV[f] .. ' is no queue but a ' .. kind)
      end
    end
    p = after(p)
  end
end

-- 2. settle: done with a result, or without

for p = at + 1, at + plain * 5, 5 do
  if call('HDEL', KEYS[tonumber(ARGV[p])], ARGV[p + 1]) == 1 then
    if ARGV[p + 2] ~= '' then
      kept = kept + 1
      results[kept] = p + 2
    end
  else
    refused[#refused + 1] = tonumber(ARGV[p + 1])
  end
  wrote = true
end

-- 3. settle: everything else

if ARGV[others] ~= '0' then
  local back = {}
  local milliseconds = now[1] * 1000 + math.floor(now[2] / 1000)

  local function put_off(base, record, due)
    call('ZADD', base .. 'delayed', due, string.format('%016.0f', call('INCR', base .. 'sequence')) .. record)
  end

  local dead
  local function strike(strikes, number, from)
    dead = dead or dead_letters()
    return dead.struck(strikes, number, milliseconds, string.match(from, ' (.*)$') or consumer)
  end

  local function requeue(i, p, record)
    local _, step, strikes, payload, from = open_record(record)
    if strikes ~= ARGV[p + 8] then strikes = strike(strikes, ARGV[p + 8], from) end
    record = make_record(ARGV[p + 7], step, strikes, payload, '')
    if ARGV[p + 7] == '0' then
      -- Taken next, and in the order of their receipts: so the lowest is pushed last.
      back[#back + 1] = {tonumber(ARGV[p + 1]), i, record}
    else
      shelve('LPUSH', KEYS[4 * i - 2], KEYS[4 * i + 1], separator, record)
    end
  end

  -- false: the delivery is no longer this consumer's
  local function acknowledge(p)
    local i = tonumber(ARGV[p])
    if i == 0 then return true end
    local inflight, base, verdict = KEYS[4 * i], KEYS[4 * i + 1], ARGV[p + 2]
    local record = call('HGET', inflight, ARGV[p + 1])
    if not record then return false end
    call('HDEL', inflight, ARGV[p + 1])
    if verdict == '1' then
      requeue(i, p, record)
    elseif verdict == '2' then
      local shelf, step, strikes, payload = open_record(record)
      put_off(base, make_record(shelf, step, strikes, payload, ''), ARGV[p + 9])
    elseif verdict == '3' then
      local shelf, step, strikes, payload, from = open_record(record)
      -- A conviction counts the last death, which the record does not know of.
      if tonumber(ARGV[p + 8]) > count_strikes(strikes) then strikes = strike(strikes, ARGV[p + 8], from) end
      record = make_record(shelf, step, strikes, payload, '')
      dead = dead or dead_letters()
      gone = gone + dead.bury(base, KEYS[4 * i - 2], record, ARGV[p + 10], milliseconds)
    end
    return true
  end

  local p = others + 1
  for _ = 1, tonumber(ARGV[others]) do
    local follow_ups = tonumber(ARGV[p + 11])
    if acknowledge(p) then
      if ARGV[p + 3] ~= '' then
        kept = kept + 1
        results[kept] = p + 3
      end
      for f = p + 14, p + 12 + 2 * follow_ups, 2 do
        call('LPUSH', ARGV[f], ARGV[f + 1])
      end
      local further = p + 14 + 2 * follow_ups
      for f = further, further + 4 * tonumber(ARGV[p + 12]) - 1, 4 do
        kept = kept + 1
        results[kept] = f
      end
      for f = further + 4 * tonumber(ARGV[p + 12]), after(p) - 1, 7 do members[#members + 1] = f end
    else
      refused[#refused + 1] = tonumber(ARGV[p + 1])
    end
    p = after(p)
  end

  table.sort(back, function(a, b) return a[1] > b[1] end)
  for _, entry in ipairs(back) do
    local i = entry[2]
    shelve('RPUSH', KEYS[4 * i - 2], KEYS[4 * i + 1], separator, entry[3])
  end
  wrote = true
end

-- 4. results and members of chords, in their own database

local complete = {}

local function count_members()
  -- Celery's own keys (see backends/redis_chords.py), so that whoever completes the set calls the body, stock or ours.
  local function count(p)
    local group = ARGV[p]
    local joined, size, known, claim = group .. '.j', group .. '.s', group .. '.d', group .. '.c'
    if call('GET', claim) == 'done' then return end
    if call('SADD', known, ARGV[p + 1] .. ':' .. ARGV[p + 2]) == 1 then
      local kind = call('TYPE', joined).ok
      if kind == 'list' or (kind == 'none' and ARGV[p + 6] == '0') then
        call('RPUSH', joined, ARGV[p + 3])
      else
        call('ZADD', joined, ARGV[p + 2], ARGV[p + 3])
      end
    end
    -- Kept as long as its size is; a day, where nobody has said it yet.
    local left = call('PTTL', size)
    if left == -2 then left = 86400000 end
    for _, key in ipairs({joined, known, group .. '.t'}) do
      if left > 0 then call('PEXPIRE', key, left) else call('PERSIST', key) end
    end
    local wanted = call('GET', size)
    if not wanted then return end
    local there = call('TYPE', joined).ok == 'list' and call('LLEN', joined) or call('ZCARD', joined)
    if there ~= wanted + (call('GET', group .. '.t') or 0) then return end
    if left > 0 then
      if not call('SET', claim, 'done', 'NX', 'PX', left) then return end
    elseif not call('SET', claim, 'done', 'NX') then
      return
    end
    complete[#complete + 1] = p
  end

  for _, p in ipairs(members) do
    -- Keys of another kind than Celery's: all else of this turn is done, and is not taken back.
    local good, problem = pcall(count, p)
    if not good then
      redis.log(redis.LOG_WARNING, 'celeriac: a member of ' .. ARGV[p] .. ' is not counted: ' ..
        tostring(type(problem) == 'table' and problem.err or problem))
    end
  end
end

if kept + #members > 0 and ARGV[11] ~= '' then
  local prefix, elsewhere = ARGV[12], ARGV[11] ~= ARGV[10]
  if elsewhere then call('SELECT', ARGV[11]) end
  for r = 1, kept do
    local p = results[r]
    local key, expires, document = prefix .. ARGV[p], ARGV[p + 1], ARGV[p + 2]
    if p < others or ARGV[p + 3] == '1' or not is_final(call('GET', key)) then
      if expires == '0' then
        call('SET', key, document)
      else
        call('PSETEX', key, expires, document)
      end
      call('PUBLISH', key, document)
    end
  end
  if #members > 0 then count_members() end
  if elsewhere then call('SELECT', ARGV[10]) end
  for _, p in ipairs(complete) do call('LPUSH', ARGV[p + 4], ARGV[p + 5]) end
end

-- 5. reserve

local flags, answer = 0, {now[1], now[2], 0, refused, call('GET', KEYS[#KEYS]) or '0'}
local room, bytes, most = limit, 0, tonumber(ARGV[6])

local function list_of(i, step)
  if step == '0' then return KEYS[4 * i - 2] end
  if step == OWN then return KEYS[4 * i + 1] .. 'own' end
  return KEYS[4 * i - 2] .. separator .. step
end

-- One queue, one LIST, up to `count` of it. Returns whether there may be more.
local function take(i, step, count)
  local ready, inflight = list_of(i, step), KEYS[4 * i]
  while count > 0 do
    -- With a bound on bytes, look at a few at a time: what is looked at is copied.
    local look = most > 0 and math.min(count, 16) or count
    local found = call('LRANGE', ready, -look, -1)
    local there, taken = #found, 0
    if there == 0 then return false end
    local fields, group = {}, {i, 0, 0, issued + 1}
    for j = there, 1, -1 do
      local payload = found[j]
      if most > 0 then
        if bytes > 0 and bytes + #payload > most then
          room = taken
          break
        end
        bytes = bytes + #payload
      end
      taken = taken + 1
      issued = issued + 1
      group[taken + 4] = payload
      fields[2 * taken - 1] = issued
      if step == '0' and string.byte(payload) ~= 1 then
        fields[2 * taken] = payload
      else
        fields[2 * taken] = make_record('0', step, '0', payload, '')
      end
    end
    if taken > 0 then
      call('LTRIM', ready, 0, -taken - 1)
      call('HSET', inflight, unpack(fields))
      answer[#answer + 1] = group
    end
    room, count = room - taken, count - taken
    if room == 0 then return true end
    if there < look then return false end
  end
  return true
end

-- One message of a shelf whose messages run alone.
local function take_alone(name, shelf)
  for o = 0, queues - 1 do
    local i = (tonumber(ARGV[8]) - 1 + o) % queues + 1
    local record = call('RPOP', KEYS[4 * i + 1] .. name)
    if record then
      local _, step, strikes, payload = open_record(record)
      issued = issued + 1
      call('HSET', KEYS[4 * i], issued, make_record(shelf, step, strikes, payload, ''))
      answer[#answer + 1] = {i, tonumber(shelf), count_strikes(strikes), issued, payload}
      return true
    end
  end
end

local function holds()
  for i = 1, queues do
    if call('EXISTS', KEYS[4 * i]) == 1 then return true end
  end
end

-- One priority step of several queues: each its share first, in rotation, then whoever has more.
local function take_step(step)
  local lists, turns = {}, {}
  for o = 1, queues do
    local i = (tonumber(ARGV[8]) + o - 2) % queues + 1
    lists[o] = list_of(i, step)
    turns[o] = i
  end
  -- Most LISTs of many queues are empty: this ends the search as soon as all that are not were seen.
  local full = call('EXISTS', unpack(lists))
  while full > 0 and room > 0 do
    local more, left = {}, #turns
    for o, i in ipairs(turns) do
      if full == 0 or room == 0 then return end
      local before = #answer
      if take(i, step, math.ceil(room / math.min(full, left))) then
        more[#more + 1] = i
      elseif #answer > before then
        full = full - 1
      end
      left = left - 1
    end
    turns = more
    if #turns == 0 then return end
  end
end

local function reserve_ready(own)
  for s = own > 0 and 15 or 16, 15 + tonumber(ARGV[15]) do
    if room == 0 then return end
    local step = s == 15 and OWN or ARGV[s]
    if queues == 1 then take(1, step, room) else take_step(step) end
  end
end

local function reserve()
  if ARGV[7] == '2' then
    if not holds() then take_alone('quarantine', '2') end
    return
  end
  -- One look at all that is rarely there.
  local rare, own = {}, 0
  for i = 1, queues do rare[2 * i - 1], rare[2 * i] = KEYS[4 * i + 1] .. 'suspects', KEYS[4 * i + 1] .. 'own' end
  local there = call('EXISTS', unpack(rare))
  if there > 0 then
    for i = 2, 2 * queues, 2 do own = own + call('EXISTS', rare[i]) end
  end
  if there > own then
    if not holds() then
      take_alone('suspects', '1')
      return
    end
    flags = 1
  end
  if ARGV[13] == '0' or call('HEXISTS', KEYS[4 * tonumber(ARGV[14])], ARGV[13]) == 0 then
    reserve_ready(own)
  end
end

if limit > 0 then reserve() end
answer[3] = flags + 4 * gone
if wrote or #answer > 5 then
  call('HSET', KEYS[1], 'issued', issued, sender, number)
end
return answer
