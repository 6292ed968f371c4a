-- lock_of(queue_prefix, named, msg): the lock a task may hold, by its hash's unique_key, else by its msg; nil for none.
-- Asynq's hash of a unique task in a group names no lock, its msg does: field 10 of the TaskMessage.
local function varint(bytes, at)
  local value, factor = 0, 1
  while true do
    local byte = string.byte(bytes, at)
    value = value + byte % 128 * factor
    factor = factor * 128
    at = at + 1
    if byte < 128 then
      return value, at
    end
  end
end

local function field_10(bytes)
  local at, found, tag, length = 1, nil, nil, nil
  while at <= #bytes do
    tag, at = varint(bytes, at)
    if tag % 8 == 0 then
      length, at = varint(bytes, at)
    elseif tag % 8 == 1 then
      at = at + 8
    elseif tag % 8 == 2 then
      length, at = varint(bytes, at)
      if tag == 82 then
        found = string.sub(bytes, at, at + length - 1)
      end
      at = at + length
    elseif tag % 8 == 5 then
      at = at + 4
    else
      return nil
    end
  end
  return found
end

local function lock_of(queue_prefix, named, msg)
  if not named or named == "" then
    local readable
    readable, named = pcall(field_10, msg or "")
    if not readable then
      return nil
    end
  end
  -- a name outside the queue is none of ours, and may lie in another slot
  local prefix = queue_prefix .. "unique:"
  return named and string.sub(named, 1, #prefix) == prefix and named or nil
end
