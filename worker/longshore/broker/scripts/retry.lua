-- Let active tasks wait for their next attempt; count those whose attempt failed.
--
-- KEYS[1] asynq:{<queue>}:active             list
-- KEYS[2] asynq:{<queue>}:lease              zset
-- KEYS[3] asynq:{<queue>}:retry              zset
-- KEYS[4] asynq:{<queue>}:processed:<date>   integer
-- KEYS[5] asynq:{<queue>}:processed          integer
-- KEYS[6] asynq:{<queue>}:failed:<date>      integer
-- KEYS[7] asynq:{<queue>}:failed             integer
-- ARGV[1] asynq:{<queue>}:t:                 prefix of the tasks' keys
-- ARGV[2] end of the day's counters          Unix seconds
-- ARGV[3…] for each task: id, time of the next attempt in Unix seconds, msg, "1" when the attempt failed and "0" when
--          it was only postponed
--
-- Reply: positions (from 1) of the tasks that were no longer active, or whose failed attempt was written before; nothing
--        was written for those.
--
-- A call whose reply was lost comes again, maybe only when the task is active for its next attempt. A failed attempt is
-- known by its msg, as the stored one has fewer retries until it is written. What was only postponed may look as it did.
--
-- Atomic for the reason in done.lua. The lock is kept: the task is not over. Unlike Asynq's, a result that was written goes
-- with the attempt that failed.
redis.call("ZCARD", KEYS[3]) -- fails here, before anything is written, when it is of another type
local failures, refused = 0, {}
for i = 3, #ARGV, 4 do
  local id = ARGV[i]
  local again = ARGV[i + 3] == "1" and redis.pcall("HGET", ARGV[1] .. id, "msg") == ARGV[i + 2]
  if not again and leave_active(KEYS[1], id) then
    redis.call("ZREM", KEYS[2], id)
    redis.call("ZADD", KEYS[3], ARGV[i + 1], id)
    redis.call("HSET", ARGV[1] .. id, "msg", ARGV[i + 2], "state", "retry")
    redis.call("HDEL", ARGV[1] .. id, "result", "progress")
    if ARGV[i + 3] == "1" then
      failures = failures + 1
    end
  else
    refused[#refused + 1] = (i + 1) / 4
  end
end
if failures > 0 then
  count(KEYS[4], KEYS[5], failures, ARGV[2])
  count(KEYS[6], KEYS[7], failures, ARGV[2])
end
return refused
