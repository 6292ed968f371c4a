-- Delete active tasks that succeeded, free their locks, count them.
--
-- KEYS[1] asynq:{<queue>}:active             list
-- KEYS[2] asynq:{<queue>}:lease              zset
-- KEYS[3] asynq:{<queue>}:processed:<date>   integer
-- KEYS[4] asynq:{<queue>}:processed          integer
-- ARGV[1] asynq:{<queue>}:t:                 prefix of the tasks' keys
-- ARGV[2] end of the day's counter           Unix seconds
-- ARGV[3…] for each task: id, lock's key ("" for none)
--
-- Reply: positions (from 1) of the tasks that were no longer active; nothing was written for those.
--
-- Atomic so that leaving the active list decides who settles a task: exactly one of several that try. The list decides
-- alone. Asynq also wants the lease to be there, and leaves a task without one in neither container.
local wanted = {}
for i = 3, #ARGV, 2 do
  wanted[ARGV[i]] = true
end
-- Of quick tasks, those that ended are those that were taken first: they are all at the tail and leave it in one go.
local tail = redis.call("LRANGE", KEYS[1], -(#ARGV - 2) / 2, -1)
local left = {}
local kept = #tail
while kept > 0 and wanted[tail[kept]] do
  wanted[tail[kept]] = nil -- a list may hold an id twice
  left[tail[kept]] = true
  kept = kept - 1
end
if kept < #tail then
  redis.call("LTRIM", KEYS[1], 0, kept - #tail - 1)
end
local owned, keys, refused = {}, {}, {}
for i = 3, #ARGV, 2 do
  local id = ARGV[i]
  if left[id] or leave_active(KEYS[1], id) then
    left[id] = nil
    owned[#owned + 1] = id
    keys[#keys + 1] = ARGV[1] .. id
    local lock = ARGV[i + 1]
    if lock ~= "" and redis.pcall("GET", lock) == id then
      redis.call("DEL", lock)
    end
  else
    refused[#refused + 1] = (i - 1) / 2
  end
end
local ended = #owned
if ended > 0 then
  redis.call("ZREM", KEYS[2], unpack(owned))
  redis.call("DEL", unpack(keys))
  count(KEYS[3], KEYS[4], ended, ARGV[2])
end
return refused
