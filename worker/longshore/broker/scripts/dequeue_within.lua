-- (after fragments/permits.lua; dequeue.lua is the function dequeue) Take tasks of a queue that has a limit.
--
-- KEYS[1…4] as in dequeue.lua
-- KEYS[5]   longshore:{<queue>}:limit                 hash    see permits.lua
-- ARGV[1…3] as in dequeue.lua
-- ARGV[4]   grace for leases                          seconds
-- ARGV[5]   horizon: how far ahead a start is given   microseconds
-- ARGV[6]   how many tasks may be held until their start
-- ARGV[7]   the server that asks
-- ARGV[8…11] the limit, as permits.lua reads it
--
-- Reply: {what dequeue.lua replies, how long till asking again makes sense in microseconds (-1: nobody knows, -2:
--        till one that is held begins, 0: the limit left nothing behind), the limit as somebody else declared it or "", {for each task taken: microseconds until it may
--        begin}, the server that has to be asked instead or ""}.
--
-- Atomic so that no task is taken that may not begin: what has to wait stays pending.
if redis.call("EXISTS", KEYS[2]) == 1 then
  return {-1, 0, "", {}, ""}
end
if redis.call("LLEN", KEYS[1]) == 0 then
  return {0, 0, "", {}, ""}
end
local limit = open_limit(KEYS[5], nil, KEYS[4], 8, tonumber(ARGV[4]))
local limits, horizon_us, holds = {limit}, tonumber(ARGV[5]), tonumber(ARGV[6])
local asked = goes_first(limit, ARGV[7])
if asked ~= "" and next_start(limits, now_us, horizon_us, holds) then
  return {0, 30000, limit.otherwise, {}, asked}
end
-- Their starts are found first, and those of tasks that are not there are forgotten.
local starts, paces, again_us = {}, {}, 0
for i = 1, tonumber(ARGV[1]) do
  local start, wait_us = next_start(limits, now_us, horizon_us, holds)
  if not start then
    again_us = wait_us
    break
  end
  grant(limits, start)
  holds = holds - (start > now_us and 1 or 0)
  starts[i], paces[i] = start - now_us, limit.pace
end
if #starts == 0 then
  return {0, again_us, limit.otherwise, {}, ""}
end
ARGV[1] = #starts
local reply = dequeue()
local taken = type(reply) == "table" and #reply[1] / 2 or 0
local used = {}
for i = 1, taken do
  used[i] = starts[i]
end
if taken > 0 then
  limit.pace = paces[taken]
  close_limits(limits)
  has_got(limit, ARGV[7])
end
if taken < #starts then
  again_us = 0 -- it was not the limit that made them so few
end
return {reply, again_us, limit.otherwise, used, ""}
