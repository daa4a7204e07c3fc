-- Shared by the other files, which have it in front of them: whether a stored result is the last word on its task.

-- Celery's documents in whatever serializer: the word after the first `status`. Ours and Celery's begin with it.
local function is_final(document)
  if not document then return false end
  local state = string.match(document, '^{"status": ?"(%u+)"')
  if not state and string.sub(document, 1, 1) == '{' then
    local good, read = pcall(cjson.decode, document)
    state = good and type(read) == 'table' and read.status
  end
  state = state or string.match(document, 'status[^%a]+(%u+)')
  return state == 'SUCCESS' or state == 'FAILURE' or state == 'REVOKED'
end
