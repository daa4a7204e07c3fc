-- Send dead letters again: original bytes, to the end of their queue, strikes forgotten.
--
-- KEYS   1 ready LIST  2 base of our own keys
-- ARGV   1 separator  2 milliseconds until the first (0: now)  3 milliseconds from each to the next  4 by whom
--        5 most histories kept  6 milliseconds each is kept  7... ids
-- Returns {ids that were found}
-- Called by dead.py.

local time = call('TIME')
local now, found = time[1] * 1000 + math.floor(time[2] / 1000), {}
local dead = dead_letters()
local most, kept = tonumber(ARGV[5]), tonumber(ARGV[6])

for a = 7, #ARGV do
  local due = now + ARGV[2] + ARGV[3] * #found
  if dead.unbury(KEYS[1], KEYS[2], ARGV[1], ARGV[a], due, 'requeued', ARGV[4], most, kept, now) then
    found[#found + 1] = ARGV[a]
  end
end

return found
