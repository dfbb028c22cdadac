---Whether suggestions are on, everywhere and in one buffer.
local M = {}

---@param buf integer
---@return boolean
function M.is_on(buf)
  return vim.g.starling_off ~= true and vim.b[buf].starling_off ~= true
end

---Makes Neovim show suggestions of `client` in `buf` or not, as the switches say. With a client but no buffer, Neovim
---0.12 would start afresh in all buffers of that client and drop what other clients show there.
---@param client vim.lsp.Client
---@param buf integer
function M.apply(client, buf)
  vim.lsp.inline_completion.enable(M.is_on(buf), { client_id = client.id, bufnr = buf })
end

---Turns suggestions off or on again.
---@param buf? integer only there; everywhere by default
---@return boolean whether they are on now
function M.toggle(buf)
  if buf then
    vim.b[buf].starling_off = M.is_on(buf)
  else
    vim.g.starling_off = vim.g.starling_off ~= true
  end
  for _, client in ipairs(vim.lsp.get_clients({ name = 'starling' })) do
    for attached in pairs(client.attached_buffers) do
      M.apply(client, attached)
    end
  end
  return M.is_on(buf or vim.api.nvim_get_current_buf())
end

return M
