-- Remove a queue that has no tasks.
--
-- KEYS[1]  asynq:{<queue>}:groups             set
-- KEYS[2]  asynq:{<queue>}:pending            list
-- KEYS[3]  asynq:{<queue>}:active             list
-- KEYS[4]  asynq:{<queue>}:scheduled          zset
-- KEYS[5]  asynq:{<queue>}:retry              zset
-- KEYS[6]  asynq:{<queue>}:archived           zset
-- KEYS[7]  asynq:{<queue>}:completed          zset
-- KEYS[8]  asynq:{<queue>}:aggregation_sets   zset
-- KEYS[9…] asynq:{<queue>}:lease, :paused, every counter, and what lies beside the queue: limits and their lines
-- ARGV[1]  asynq:{<queue>}:g:                 prefix of the groups' keys
--
-- Reply: 1 removed; 0 it has tasks, and nothing was written.
--
-- Atomic so that no task that arrives meanwhile is left in a queue that is gone. Unlike Asynq's it looks at completed
-- and aggregating tasks as well, and leaves no pause and no counters to a later queue of the name.
for i = 2, 8 do
  if redis.call("EXISTS", KEYS[i]) == 1 then
    return 0
  end
end
for _, group in ipairs(redis.call("SMEMBERS", KEYS[1])) do
  if redis.call("TYPE", ARGV[1] .. group).ok == "zset" then
    return 0
  end
end
redis.call("DEL", unpack(KEYS))
return 1
