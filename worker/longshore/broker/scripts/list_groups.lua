-- Look at one page of a queue's groups, and for aggregation sets that nobody finished.
--
-- KEYS[1] asynq:{<queue>}:groups             set
-- KEYS[2] asynq:{<queue>}:aggregation_sets   zset
-- ARGV[1] cursor                             "0" begins; then what the last reply said
-- ARGV[2] size                               about so many groups a page, 1 to 1000
-- ARGV[3] asynq:{<queue>}:g:                 prefix of the groups' keys
-- ARGV[4] now                                Unix seconds
-- ARGV[5] limit                              most expired sets told, 1 to 1000
--
-- Reply: {cursor, groups, strangers, expired}
--        cursor: where the next page begins, "0" after the last
--        groups: {name, size, id that joined first, when it joined, when the last one joined}, times in Unix seconds
--        strangers: names under whose key there is no zset
--        expired: keys of aggregation sets whose time is over
--
-- Atomic so that a name is taken off the list only while its group is empty. Asynq leaves such names behind, and its
-- memory statistics of the queue are then not a number.
local expired = redis.call("ZRANGEBYSCORE", KEYS[2], "-inf", ARGV[4], "LIMIT", 0, ARGV[5])
local page = redis.call("SSCAN", KEYS[1], ARGV[1], "COUNT", ARGV[2])
local groups, strangers, empty = {}, {}, {}
for _, name in ipairs(page[2]) do
  local key = ARGV[3] .. name
  local size = redis.pcall("ZCARD", key)
  if size == 0 then
    empty[#empty + 1] = name
  elseif type(size) == "number" then
    local first = redis.call("ZRANGE", key, 0, 0, "WITHSCORES")
    local last = redis.call("ZRANGE", key, -1, -1, "WITHSCORES")
    groups[#groups + 1] = {name, size, first[1], first[2], last[2]}
  else
    strangers[#strangers + 1] = name
  end
end
if #empty > 0 then
  redis.call("SREM", KEYS[1], unpack(empty))
end
return {page[1], groups, strangers, expired}
