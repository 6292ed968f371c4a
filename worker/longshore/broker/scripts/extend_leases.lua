-- Extend the leases of active tasks; those that have none get none.
--
-- KEYS[1] asynq:{<queue>}:lease   zset
-- ARGV[1] end of the leases       Unix seconds
-- ARGV[2…] ids                    up to 1000
--
-- Reply: 0.
--
-- A script for the sake of a Redis that is full: it refuses ZADD, though members that are there take no more room, and then
-- whatever runs for longer than a lease would be taken for lost. In a script that has written something, it does not.
redis.call("ZREMRANGEBYRANK", KEYS[1], 1, 0) -- an empty range
local leases = {}
for i = 2, #ARGV do
  leases[#leases + 1] = ARGV[1]
  leases[#leases + 1] = ARGV[i]
end
redis.call("ZADD", KEYS[1], "XX", unpack(leases))
return 0
