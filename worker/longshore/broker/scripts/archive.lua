-- Archive active tasks that get no further attempt, count them as failed, and trim the archive.
--
-- KEYS[1] asynq:{<queue>}:active             list
-- KEYS[2] asynq:{<queue>}:lease              zset
-- KEYS[3] asynq:{<queue>}:archived           zset
-- KEYS[4] asynq:{<queue>}:processed:<date>   integer
-- KEYS[5] asynq:{<queue>}:processed          integer
-- KEYS[6] asynq:{<queue>}:failed:<date>      integer
-- KEYS[7] asynq:{<queue>}:failed             integer
-- KEYS[8] longshore:{<queue>}:archive        hash, the limits of the archive, if it has any of its own
-- ARGV[1] asynq:{<queue>}:t:                 prefix of the tasks' keys
-- ARGV[2] end of the day's counters          Unix seconds
-- ARGV[3] now                                Unix seconds
-- ARGV[4] cutoff                             Unix seconds; what was archived then or before is deleted
-- ARGV[5] size                               the archive keeps so many tasks, the newest
-- ARGV[6] chunk                              at most so many are deleted for each of the two reasons
-- ARGV[7] longshore:{<queue>}:waiting:       prefix of the keys that say who waits for a task
-- ARGV[8…] for each task: id, msg
--
-- Reply: positions (from 1) of the tasks that were no longer active; nothing was written for those.
--
-- Whoever waits for a task is told, as in complete.lua. A result that was written belongs to the attempt that failed, and
-- goes with it.
--
-- Atomic for the reason in done.lua. Trimming deletes the tasks' hashes too, and goes on at the next call when there is
-- more than a chunk: Asynq's trims all at once, which fails for good above some 8,000 members.
redis.call("ZCARD", KEYS[3]) -- fails here, before anything is written, when it is of another type
local failures, refused = 0, {}
for i = 8, #ARGV, 2 do
  local id = ARGV[i]
  if leave_active(KEYS[1], id) then
    redis.call("ZREM", KEYS[2], id)
    redis.call("ZADD", KEYS[3], ARGV[3], id)
    redis.call("HSET", ARGV[1] .. id, "msg", ARGV[i + 1], "state", "archived")
    redis.call("HDEL", ARGV[1] .. id, "result", "progress")
    local waiting = redis.pcall("HGETALL", ARGV[7] .. id)
    for w = 1, #waiting, 2 do
      redis.pcall("PUBLISH", waiting[w], waiting[w + 1])
    end
    failures = failures + 1
  else
    refused[#refused + 1] = (i - 6) / 2
  end
end
if failures == 0 then
  return refused
end
count(KEYS[4], KEYS[5], failures, ARGV[2])
count(KEYS[6], KEYS[7], failures, ARGV[2])
trim_archive(KEYS[3], ARGV[1], KEYS[8], tonumber(ARGV[3]), ARGV[4], ARGV[5], ARGV[6])
return refused
