-- Shared by the files that have it in front of them, after records.lua: dead letters, how they are set aside, sent again
-- and forgotten (see layout.py for the keys and what stands in them, brokers/history.py for histories).
--
-- All in one function, called by whoever needs it: a turn rarely does, and each function that a script makes costs it.

local function dead_letters()
  local function strikes_history(strikes) return string.match(strikes, '^%d+,?(.*)$') end

  local function happening(milliseconds, what, who)
    return string.format('%.0f', milliseconds) .. '@' .. what .. '@' .. (string.gsub(who, '[;,@%s%c]', '_'))
  end

  -- The last 20 entries of two histories, one after the other.
  local function joined(one, two)
    local all = {}
    for entry in string.gmatch(one .. ',' .. two, '[^,]+') do all[#all + 1] = entry end
    return table.concat(all, ',', math.max(1, #all - 19))
  end

  -- What is known of the strikes goes on to their new number; who: whose death it was. None are left: none are known.
  local function struck(strikes, number, milliseconds, who)
    if number == '0' then return '0' end
    local told = strikes_history(strikes)
    if tonumber(number) > count_strikes(strikes) then told = joined(told, happening(milliseconds, 'strike', who)) end
    return told == '' and number or number .. ',' .. told
  end

  local function whole(number) return string.format('%.0f', number) end

  local function forget_dead(base, id)
    local found = call('HDEL', base .. 'dead', id)
    call('ZREM', base .. 'dead:index', id)
    call('ZREM', base .. 'dead:again', id)
    return found
  end

  -- Forget what is too old or too much, a bounded part of it. Returns how many there were too many of.
  local function trim_dead(base, most, kept, now)
    local index = base .. 'dead:index'
    for _, id in ipairs(call('ZRANGEBYSCORE', index, '-inf', '(' .. whole(now - kept), 'LIMIT', 0, 100)) do
      forget_dead(base, id)
    end
    local surplus = math.min(call('ZCARD', index) - most, 1000)
    if surplus <= 0 then return 0 end
    for _, id in ipairs(call('ZRANGE', index, 0, surplus - 1)) do forget_dead(base, id) end
    return surplus
  end

  local function trim_past(base, most, kept, now)
    local past = base .. 'dead:past'
    local old = call('ZCOUNT', past .. ':index', '-inf', '(' .. whole(now - kept))
    local gone = math.min(math.max(old, call('ZCARD', past .. ':index') - most), 1000)
    if gone <= 0 then return end
    for _, name in ipairs(call('ZRANGE', past .. ':index', 0, gone - 1)) do call('HDEL', past, name) end
    call('ZREMRANGEBYRANK', past .. ':index', 0, gone - 1)
  end

  -- queue: as it stands in ids. word: name of the past, most letters kept, milliseconds each is kept, milliseconds after
  -- which it is sent again (0: never), until that was done so often, facts. Returns how many older letters had to go.
  local function bury(base, queue, record, word, now)
    local name, most, kept, after, often, facts = string.match(word, '^(%x+) (%d+) (%d+) (%d+) (%d+) (.*)$')
    local past, requeues, told = call('HGET', base .. 'dead:past', name), '0', ''
    if past then
      call('HDEL', base .. 'dead:past', name)
      call('ZREM', base .. 'dead:past:index', name)
      requeues, told = string.match(past, '^(%d+);(.*)$')
    end
    local id = queue .. ':' .. whole(call('INCR', base .. 'sequence'))
    call('HSET', base .. 'dead', id, facts .. '\n' .. name .. ';' .. requeues .. ';' .. told .. '\n' .. record)
    call('ZADD', base .. 'dead:index', whole(now), id)
    if after ~= '0' and tonumber(requeues) < tonumber(often) then
      call('ZADD', base .. 'dead:again', whole(now + after), id)
    end
    return trim_dead(base, tonumber(most), tonumber(kept), now)
  end

  -- entry of a dead letter -> facts, name of its past, requeues, history, record. Letters that were kept before there were
  -- histories have no second line: the caller gives the name.
  local function open_dead(entry)
    local facts, stop = string.match(entry, '^([^\n]*)\n()')
    local name, requeues, told, rest = string.match(entry, '^(%x+);(%d+);([^\n]*)\n()', stop)
    if name and #name == 40 then return facts, name, requeues, told, string.sub(entry, rest) end
    return facts, nil, '0', '', string.sub(entry, stop)
  end

  -- Send one again, at once or when it is due (0: at once). what: 'again' counts as a second chance. Returns whether it
  -- was there.
  local function unbury(ready, base, separator, id, due, what, by, most, kept, now)
    local entry = call('HGET', base .. 'dead', id)
    if not entry then return false end
    local since = call('ZSCORE', base .. 'dead:index', id) or now
    local facts, name, requeues, told, record = open_dead(entry)
    local _, step, strikes, payload = open_record(record)
    -- Fails where the LIST is none, while the letter is still there.
    call('LLEN', step == '0' and ready or ready .. separator .. step)
    forget_dead(base, id)
    told = joined(joined(told, strikes_history(strikes)),
      happening(since, string.match(facts, '^%["(%w+)"') or 'dead', '') .. ',' .. happening(now, what, by))
    if what == 'again' then requeues = whole(requeues + 1) end
    name = name or redis.sha1hex(payload)
    call('HSET', base .. 'dead:past', name, requeues .. ';' .. told)
    call('ZADD', base .. 'dead:past:index', whole(now), name)
    trim_past(base, most, kept, now)
    record = make_record('0', step, '0', payload, '')
    if due > now then
      call('ZADD', base .. 'delayed', whole(math.ceil(due)), string.format('%016.0f', call('INCR', base .. 'sequence')) .. record)
    else
      shelve('LPUSH', ready, base, separator, record)
    end
    return true
  end

  return {happening = happening, joined = joined, struck = struck, forget = forget_dead, trim = trim_dead,
    trim_past = trim_past, bury = bury, open = open_dead, unbury = unbury}
end
