-- Shared by the other files, which have it in front of them: how records are read and put back (see layout.py).

local call = redis.call

-- The priority step of what only our workers may take (layout.py): not in a LIST of Celery's.
local OWN = '99'

-- record -> shelf ('0' ready, '1' suspects, '2' quarantine), priority step, strikes with their history, payload,
-- recovered from
local function open_record(record)
  if string.byte(record) ~= 1 then return '0', '0', '0', record, '' end
  local shelf, step, strikes, from, stop = string.match(record, '^\1(%d+);(%d+);(%d[^;\n]*);([^\n]*)\n()')
  if not shelf then return '0', '0', '0', record, '' end
  return shelf, step, strikes, string.sub(record, stop), from
end

-- The inverse. A bare payload stays bare, unless it begins like a head itself.
local function make_record(shelf, step, strikes, payload, from)
  if shelf == '0' and step == '0' and strikes == '0' and from == '' and string.byte(payload) ~= 1 then
    return payload
  end
  return '\1' .. shelf .. ';' .. step .. ';' .. strikes .. ';' .. from .. '\n' .. payload
end

-- Strikes are a number, a comma, and what is known of them: '2,milliseconds@strike@consumer,...' (see brokers/history.py).
local function count_strikes(strikes) return tonumber(string.match(strikes, '^%d+')) end

-- Put a record back to its shelf: with RPUSH it is taken next, with LPUSH last. Stock peers take from the ready LISTs, so
-- those hold bare payloads.
local function shelve(push, ready, base, separator, record)
  local shelf, step, strikes, payload = open_record(record)
  if shelf == '1' then
    call(push, base .. 'suspects', make_record('1', step, strikes, payload, ''))
  elseif shelf == '2' then
    call(push, base .. 'quarantine', make_record('2', step, strikes, payload, ''))
  elseif step == OWN then
    call(push, base .. 'own', payload)
  elseif step == '0' then
    call(push, ready, payload)
  else
    call(push, ready .. separator .. step, payload)
  end
end
