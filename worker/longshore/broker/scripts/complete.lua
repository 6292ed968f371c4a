-- Keep active tasks that succeeded until their retention ends, free their locks, count them.
--
-- KEYS[1] asynq:{<queue>}:active             list
-- KEYS[2] asynq:{<queue>}:lease              zset
-- KEYS[3] asynq:{<queue>}:completed          zset
-- KEYS[4] asynq:{<queue>}:processed:<date>   integer
-- KEYS[5] asynq:{<queue>}:processed          integer
-- ARGV[1] asynq:{<queue>}:t:                 prefix of the tasks' keys
-- ARGV[2] end of the day's counter           Unix seconds
-- ARGV[3] longshore:{<queue>}:waiting:       prefix of the keys that say who waits for a task
-- ARGV[4…] for each task: id, lock's key ("" for none), end of its retention in Unix seconds, msg,
--          "1" when it has a result and "0" when not, the result
--
-- Reply: positions (from 1) of the tasks that were no longer active; nothing was written for those.
--
-- Whoever waits for a task is told: each field of its waiting hash is a channel, the value what is published there. That
-- may fail, by a user's rights for one, and must not keep a task from being completed.
--
-- Atomic for the reason in done.lua, and so that a completed task is never seen without its result.
redis.call("ZCARD", KEYS[3]) -- fails here, before anything is written, when it is of another type
local ended, refused = 0, {}
for i = 4, #ARGV, 6 do
  local id = ARGV[i]
  if leave_active(KEYS[1], id) then
    redis.call("ZREM", KEYS[2], id)
    redis.call("ZADD", KEYS[3], ARGV[i + 2], id)
    local key = ARGV[1] .. id
    if ARGV[i + 4] == "1" then
      redis.call("HSET", key, "msg", ARGV[i + 3], "state", "completed", "result", ARGV[i + 5])
    else
      redis.call("HSET", key, "msg", ARGV[i + 3], "state", "completed")
    end
    local lock = ARGV[i + 1]
    if lock ~= "" and redis.pcall("GET", lock) == id then
      redis.call("DEL", lock)
    end
    local waiting = redis.pcall("HGETALL", ARGV[3] .. id)
    for w = 1, #waiting, 2 do
      redis.pcall("PUBLISH", waiting[w], waiting[w + 1])
    end
    ended = ended + 1
  else
    refused[#refused + 1] = (i + 2) / 6
  end
end
if ended > 0 then
  count(KEYS[4], KEYS[5], ended, ARGV[2])
end
return refused
