// Before anything is drawn: the colours that were chosen here last, so that nothing flashes.
try {
  const chosen = localStorage.getItem('dkv-theme')
  if (chosen === 'light' || chosen === 'dark') document.documentElement.dataset.theme = chosen
} catch {
  // storage is forbidden here: the system's colours it is
}
