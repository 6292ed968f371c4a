-- Replace a scope's report of the periodic entries that cannot run.
--
-- KEYS[1] longshore:periodic-errors:<scope>   hash
-- ARGV[1…] for each such entry: name, why. None: all can run, and the report goes.
--
-- Reply: how many there are.
--
-- Atomic so that no reader finds the report empty in between.
redis.call("DEL", KEYS[1])
for i = 1, #ARGV, 2 do
  redis.call("HSET", KEYS[1], ARGV[i], ARGV[i + 1])
end
return #ARGV / 2
