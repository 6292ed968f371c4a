-- count(day, total, number, ends_at): adds number to the counter of a day, which is deleted at ends_at (Unix seconds),
-- and to the total of all time. A counter starts again, as Asynq's total does, when it would leave 64 bits, and also
-- when it is no number. A key of another type is not ours and stays. Nothing of this fails: the tasks that are counted
-- have ended, and a script that stops half way would lose what it was going to answer.
local function add(key, number)
  local sum = redis.pcall("INCRBY", key, number)
  if type(sum) == "table" and redis.call("TYPE", key).ok == "string" then
    redis.call("SET", key, number)
    sum = number
  end
  return sum
end

local function count(day, total, number, ends_at)
  if add(day, number) == number then
    redis.call("EXPIREAT", day, ends_at)
  end
  add(total, number)
end
