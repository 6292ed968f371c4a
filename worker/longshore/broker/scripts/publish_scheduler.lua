-- Write a scheduler's entries.
--
-- KEYS[1] asynq:schedulers:{<id>}   list
-- ARGV[1] lifetime                  seconds
-- ARGV[2…] SchedulerEntry bytes
--
-- Reply: OK.
--
-- Atomic so that readers never see the entries half replaced.
redis.call("DEL", KEYS[1])
if #ARGV > 1 then
  for i = 2, #ARGV do
    redis.call("RPUSH", KEYS[1], ARGV[i])
  end
  redis.call("EXPIRE", KEYS[1], ARGV[1])
end
return redis.status_reply("OK")
